"""What tables and pictures of records are made with."""
