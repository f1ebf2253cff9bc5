"""Records as HTML pages and drawings; nothing here measures."""
