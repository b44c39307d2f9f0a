"""Many runs: jobs, folders, launchers, leaderboard, significance."""
