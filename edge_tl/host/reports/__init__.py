"""Everything a person reads of a run, a bundle or a bench: tables, Markdown, pages, plots."""
