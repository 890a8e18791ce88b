"""Charts as shapes, written as SVG or PNG in one look."""
