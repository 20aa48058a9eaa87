def require_compiler(): pass
