"""The pages: a module for each, with its routes.

Each module has a function `routes(parts)`, which returns Starlette's routes.
"""

from web.pages import home

# A page is served when its module is here.
PAGES = (home,)
