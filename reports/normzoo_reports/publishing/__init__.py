"""A static site of reports: an index, a leaderboard, and a folder for each report; see `normzoo_reports.publish`."""
