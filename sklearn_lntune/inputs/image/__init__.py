"""Images: checked, turned into pixels by the backbone's image processor, and held as a table."""
