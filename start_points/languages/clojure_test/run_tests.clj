;; Runs all tests in files called ..._test.clj.
(require 'clojure.test)

(let [filenames (map str (.listFiles (java.io.File. ".")))
      names (keep #(second (re-find #"([^/]*_test)\.clj$" %)) filenames)
      namespaces (map #(symbol (.replace % "_" "-")) (sort names))]
  (apply require namespaces)
  (apply clojure.test/run-tests namespaces)
  ;; Otherwise idle threads of futures and agents would keep Java running for a minute.
  (shutdown-agents))
