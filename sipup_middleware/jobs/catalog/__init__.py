"""Kinds of work that every platform needs, ready to be named in ``Jobs(tasks=...)``.

==================  =====================================================
``email()``         ``email.send``: SMTP
``webhook()``       ``webhook.deliver``: a signed POST
==================  =====================================================

``STANDARD`` holds one of each, which take what they need from the environment of the worker. What a factory
does not ask for is changed on the value: ``dataclasses.replace(webhook(), retries=8)``.

=========================  ==========================================================
``SIPUP_SMTP_URL``         ``smtp://user:password@host:port`` or ``smtps://…``
``SIPUP_SMTP_SENDER``      who e-mails are from, where neither code nor job says
``SIPUP_WEBHOOK_SECRET``   ``whsec_`` and base64
=========================  ==========================================================

=====================  ================================================================
``email_send``         the job ``email.send``
``email_message``      what an e-mail says, and to whom
``email_address``      what passes for an address
``smtp_url``           which mail server a URL means
``smtp``               handing an e-mail to it, by aiosmtplib
``webhook_deliver``    the job ``webhook.deliver``
``webhook_signature``  Standard Webhooks 1.0.0
``webhook_answer``     what an endpoint's status means: pure, no clock, no I/O
``guard``              where a webhook may go
``posting``            getting it there, by httpx
=====================  ================================================================

The two libraries are loaded when a job first runs: whoever only enqueues needs neither.
"""

from __future__ import annotations

from sipup_middleware.jobs.catalog.email_send import email
from sipup_middleware.jobs.catalog.webhook_deliver import webhook
from sipup_middleware.jobs.catalog.webhook_signature import sign

__all__ = ("STANDARD", "email", "sign", "webhook")

STANDARD = (email(), webhook())
