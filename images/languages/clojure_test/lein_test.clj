;; Runs the tests in the given files, or else in all files called ..._test.clj.
(require 'clojure.test)

(defn test-files []
  (filter #(.endsWith % "_test.clj")
          (map str (filter #(.isFile %) (file-seq (java.io.File. "."))))))

(defn namespace-of [filename]
  (second (read (java.io.PushbackReader. (java.io.FileReader. filename)))))

(let [namespaces (sort (map namespace-of (or (seq *command-line-args*) (test-files))))]
  (doseq [each (or (seq *command-line-args*) (test-files))]
    (load-file each))
  (doseq [each namespaces]
    (println "\nlein test" (str each)))
  (let [{:keys [fail error]} (apply clojure.test/run-tests namespaces)]
    (System/exit (if (= 0 (+ fail error)) 0 1))))
