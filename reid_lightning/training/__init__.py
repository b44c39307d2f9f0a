"""The Lightning side: module, metrics, callbacks, strategy and the run."""
