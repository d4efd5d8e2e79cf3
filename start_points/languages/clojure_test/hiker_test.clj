(ns hiker-test
  (:require [clojure.test :refer [deftest is]]
            [hiker :refer [answer]]))

(deftest the-answer-to-life-the-universe-and-everything
  (is (= 42 (answer))))
