"""The tables of metrics and log events; nothing here makes decisions."""
