"""What the pages are made of: components, languages, how handlers are bound."""
