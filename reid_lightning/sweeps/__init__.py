"""Many runs: jobs, launchers, leaderboard, significance."""
