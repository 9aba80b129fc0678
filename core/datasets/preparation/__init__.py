"""What a job makes of its training file, as API and worker know it: rows held out, and variants of others."""
