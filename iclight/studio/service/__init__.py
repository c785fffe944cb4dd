"""What the pages do, without a page: requests let in, work run, results kept."""
