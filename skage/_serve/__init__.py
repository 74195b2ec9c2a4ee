"""The page that estimates ages in the browser, and its JSON endpoint."""
