"""Crash-test harness for the write journal of Linux md RAID-4/5/6."""
