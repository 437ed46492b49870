"""What a person looks at: reports, plots, pictures of dies, traces."""
