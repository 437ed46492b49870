"""What a person looks at: reports that open offline, charts, the picture of a die."""
