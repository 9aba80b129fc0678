"""The programs that run beside the API. Each folder says in which process its code runs.

`supervisor` is `tunery worker`: it starts, wakes and replaces the trainer, and never imports torch. `trainer`
claims jobs, trains and publishes. `server` answers chats. `tasks` has a folder for each program that does
work beside training. `engine` computes for the trainer and the server: rows in, adapters and tokens out. It
knows neither the database nor the store. The other folders are what several of these programs share.
"""
