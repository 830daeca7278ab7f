"""Shows a report as one HTML file: curves, tables, queries as pictures."""
