rspec . --format progress
