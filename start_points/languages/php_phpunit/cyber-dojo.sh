# Without a cache, which would add files to the sandbox.
phpunit --do-not-cache-result --verbose --log-junit results.xml .
