"""Reading tables that other people wrote: encodings, CSV dialects, other formats, column names."""
