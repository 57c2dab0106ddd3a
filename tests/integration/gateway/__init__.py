"""The gateway on a real socket."""
