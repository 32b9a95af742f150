//! Recipe in, report out: one value rendered to JSON, Markdown, SVG and offline HTML
