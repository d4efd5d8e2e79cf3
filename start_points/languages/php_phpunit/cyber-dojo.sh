# No cache: there would be files in the sandbox that nobody wrote.
phpunit --do-not-cache-result --verbose .
