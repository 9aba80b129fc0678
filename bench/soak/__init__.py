"""The soak test: many jobs of several projects on the whole service, while everything is broken at random.

`python -m bench.soak` runs it; `tests/faults/service/test_soak.py` runs a short one with the same code.

plan      how long, how many jobs, and how fast faults follow each other
service   the service under test: servers, lines to them that break, `tunery up` and a second worker
families  the faults, a file for each family; `registry` lists them
deck      decides which fault comes next
project   the clients: they create, pause, resume, cancel and delete, and repeat what was not answered
soak      runs all of it, phase after phase, and lets everything settle
checks    what must hold afterwards, beside what `faults.checker` says
memory    the memory of the processes over time
report    the result, as JSON and as text
"""
