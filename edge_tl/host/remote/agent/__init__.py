"""The program that runs on a device, sent as text over ssh for each request: the standard library only.

`main` answers a request of `messages`, `store` keeps files by SHA-256, `environment` installs, `channel` watches the
connection and ends what was started when it closes. It imports nothing else of edge-tl, which the device may not have.
"""
