"""The pages: a module for each, with its routes.

Each module has a function `routes(parts)`, which returns Starlette's routes.
"""

from web.pages import acts, dashboard, help_, home, join, kata, picture, practise
from web.pages.review import download, fork, review

# A page is served when its module is here.
PAGES = (home, join, kata, practise, acts, dashboard, picture, review, download, fork, help_)
