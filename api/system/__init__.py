"""The state of the service, for programs that keep it running: is it alive, and is it ready?"""
