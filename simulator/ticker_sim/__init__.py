"""A wire-accurate Kite: WebSocket, REST and faults, for the vendor's own clients as for ours."""
