"""The worker, which trains jobs. It does not depend on HTTP.

`supervise` is the supervising process, `tunery worker`, which never imports torch. It keeps a trainer process
alive: `train` with all that training needs, such as `engine`, `objectives` and `data`. `tracking` reports
jobs to experiment trackers, each from a process of its own. `process` has the parts that all these processes
need.
"""
