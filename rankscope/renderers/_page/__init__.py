"""The HTML page: what it shows (`model`), how reports become that, and its template, style and script."""
