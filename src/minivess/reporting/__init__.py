"""Reports: results as HTML, tables and figures. Computes no new results."""
