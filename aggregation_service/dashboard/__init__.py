"""The operator's dashboard: pages under `/dashboard` that need no script and load nothing from elsewhere."""
