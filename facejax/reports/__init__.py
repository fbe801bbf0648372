"""The page of a report, part by part; `facejax.report` puts it together."""
