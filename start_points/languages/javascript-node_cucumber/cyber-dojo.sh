cucumber-js --format-options '{"colorsEnabled": false}' *.feature
