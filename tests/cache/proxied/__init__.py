"""The response cache from outside: a client, a server, the cache around a reverse proxy, and an origin.

A case is a few requests, each with what the origin answers and what the client must get; its name begins with
the section that demands it. Client and origin speak bytes, the clock is injected.

=============  ======================================================
``origin``     a server that answers by a script
``proxy``      the app: a reverse proxy that stores nothing
``client``     one request by a raw socket
``servers``    uvicorn, and Hypercorn on trio, in a thread
``cases``      the table's words, and how a case is run
=============  ======================================================
"""
