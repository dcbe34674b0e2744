"""A B2B marketplace on the whole stack: 20,000 products, 60,000 orders, a real PostgreSQL and Valkey.

From the root of the checkout::

    python -m demo_app                      # or: make demo
    curl -i http://127.0.0.1:8000/products/1

``http://127.0.0.1:8000/`` lists what there is to try. Under another server the factory is `create_app`::

    sipup services run -- uvicorn --factory demo_app:create_app     # with data only if it is there already

==================  =====================================================
``app``             `create_app`, and `build_stack`: the layers around it
``catalogue``       products, lists of them, categories
``suppliers``       who sells
``reports``         a month's sales, added up
``prices``          the write that purges what it made stale
``home``            ``GET /``: what there is to try, and live numbers
``problems``        errors that name the field
``reading``         parameters, read strictly
``replies``         JSON
``keys``            who may write
``data``            the tables, ``schema.sql``, and their rows, ``data.sql``
``serve``           uvicorn, in this process or in workers
``__main__``        the command line
==================  =====================================================
"""

from demo_app.app import build_stack, create_app

__all__ = ("build_stack", "create_app")
