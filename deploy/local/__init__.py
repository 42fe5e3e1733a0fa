"""The one-command local start: backing servers, gateway and services on the loopback interface."""
