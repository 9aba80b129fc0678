"""Decides who may send a request, and when it begins: keys, sessions, bodies, permits of projects, rates.

It runs in the API's process, before a request reaches its route.
"""
