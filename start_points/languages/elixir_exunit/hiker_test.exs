ExUnit.start()

defmodule HikerTest do
  use ExUnit.Case

  test "the answer to life, the universe and everything" do
    assert Hiker.answer() == 42
  end
end
