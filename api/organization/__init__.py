"""Administration with administrators' keys: projects and quotas, API keys, the audit log, and usage."""
