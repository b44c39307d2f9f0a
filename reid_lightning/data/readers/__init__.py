"""Readers: functions from a folder or file to the table."""
