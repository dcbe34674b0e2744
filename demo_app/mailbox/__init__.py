"""Where the demo's e-mails and webhooks arrive, to be looked at: ``python -m demo_app.mailbox``.

==================  =====================================================
``arrivals``        what has arrived, each shown once
``mail``            the SMTP side
``web``             the webhooks' side, and the page, ``page.html``
``signature``       is a webhook from the marketplace?
``__main__``        the process
==================  =====================================================
"""

__all__ = ()
