"""The pages: a module for each, with its routes.

Each module has a function `routes(parts)`, which returns Starlette's routes.
"""

from web.pages import acts, help_, home, join, kata, practise

# A page is served when its module is here.
PAGES = (home, join, kata, practise, acts, help_)
