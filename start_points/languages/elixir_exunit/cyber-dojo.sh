elixir -r '*.ex' -r '*_test.exs'
