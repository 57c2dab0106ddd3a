"""The door: takes logins over HTTP, and answers what became of them."""
