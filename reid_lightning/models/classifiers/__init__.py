"""Identity classifiers, one small module each: `classifier(features, labels=None) -> logits`."""
