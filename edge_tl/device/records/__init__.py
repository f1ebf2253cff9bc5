"""What is written as JSON, by type."""
